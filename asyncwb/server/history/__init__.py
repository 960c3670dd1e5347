"""asyncwb.server.history"""
