"""asyncwb.server.intake"""
