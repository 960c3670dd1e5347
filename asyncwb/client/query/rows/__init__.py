"""asyncwb.client.query.rows"""
