"""asyncwb.server.queries"""
