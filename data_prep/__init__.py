"""Data sets as Caffe reads them: where they come from, how they are split, what was done.

`recipes` says what each preset does to each data set, `datasets` finds them by name. Files come
through `sources` (small ones) and `downloads` (large ones), in formats that `idx`, `cifar`,
`matfile` and `array_pickle` read. `training_split` divides, `normalize` and `padding` change the
pixels, `lmdb_writer` and `hdf5_writer` write what Caffe reads, `manifest` records it all, and
`prepare` puts the steps together. `python -m data_prep DATASET --out DIR` runs it.
"""
