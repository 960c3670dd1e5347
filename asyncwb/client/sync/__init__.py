"""asyncwb.client.sync"""
