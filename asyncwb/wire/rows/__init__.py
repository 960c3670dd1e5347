"""asyncwb.wire.rows"""
