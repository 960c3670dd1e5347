"""asyncwb.server.backups"""
