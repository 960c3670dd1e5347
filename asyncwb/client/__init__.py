"""asyncwb.client"""
