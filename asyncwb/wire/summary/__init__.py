"""asyncwb.wire.summary"""
