"""asyncwb.server.store.runs"""
