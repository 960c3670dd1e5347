"""What was logged, from the live tail to a chart.

sources        where a run's rows are: sealed files and the live tail
rows           all rows of a run, in step order, at one moment
history        a run's numbers over HTTP
run_metrics    the names of what it logged
sections       the order of metrics on the page
points         the points of one key
series         downsampling, and the pyramid that makes it quick
wide           the points of segments of very many columns
chart          one metric as a chart asks for it
sample         some rows for many
seal           the live tail becomes Parquet
parquet        a table as a Parquet file, and back
segment        a sealed file, open for reading, each byte checked
cut            what stays of a run that goes back to a step
rewind         going back
"""
