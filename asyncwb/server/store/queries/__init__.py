"""asyncwb.server.store.queries"""
