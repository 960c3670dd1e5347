"""asyncwb.engine.uplink"""
