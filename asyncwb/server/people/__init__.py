"""asyncwb.server.people"""
