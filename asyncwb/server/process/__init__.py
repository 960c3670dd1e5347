"""asyncwb.server.process"""
