"""asyncwb.client.query"""
