"""asyncwb.client.live._sync"""
