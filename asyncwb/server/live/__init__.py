"""asyncwb.server.live"""
