"""Rows: from what `log()` is given to the bytes that cross the wire.

values       what `log()` accepts, as JSON
arrays       arrays and tensors as plain Python values
keys         nested dicts as flat keys, and back
value_count  how many values a JSON text holds, before it is read
columns      tables: rows of metrics held column by column
tabular      JSON objects as tables
frames       tables as checked, compressed bytes
"""
