"""asyncwb.client.query._sync"""
