"""asyncwb.server.objects"""
