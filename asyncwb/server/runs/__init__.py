"""asyncwb.server.runs"""
