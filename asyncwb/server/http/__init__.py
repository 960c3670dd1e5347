"""asyncwb.server.http"""
