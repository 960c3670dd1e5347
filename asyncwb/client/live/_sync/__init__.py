"""The sync face of a live run; generated, see `asyncwb.client`.

run    from `live/run.py`
"""
