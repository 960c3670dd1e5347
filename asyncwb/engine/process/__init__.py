"""asyncwb.engine.process"""
