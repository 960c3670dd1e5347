"""asyncwb.server.store.people"""
