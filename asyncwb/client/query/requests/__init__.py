"""asyncwb.client.query.requests"""
