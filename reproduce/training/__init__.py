"""Training one network with a `caffe` command, and naming what became of it.

`log_parser` turns Caffe's log into the events of `log_events`, `caffe` finds the command in the
user's `commands`, and `process` supervises one process of it. `preflight` shows that it works.
`trial` trains one network by section 5 of the paper: a `recipe` says how, `progress` reads from
the logs how far it is, `snapshots` keeps what it goes on from, `journal` counts its processes,
`trial_events` tell the story, `diagnosis` and `outcome` name its end, `disk` knows when there is
no space. `executors` runs many trials at a time.
"""
