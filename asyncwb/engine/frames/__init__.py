"""asyncwb.engine.frames"""
