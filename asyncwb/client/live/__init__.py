"""asyncwb.client.live"""
