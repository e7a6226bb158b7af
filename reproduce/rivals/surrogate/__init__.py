"""A stand-in for training: validation curves predicted from the authors' own runs.

* `data`: which nets it learns from, and what is known of each;
* `features`: an architecture as numbers;
* `learners`: accuracy, failure to learn, the curve's shape and its jitter;
* `valid_range`: which architectures it can speak of;
* `surrogate`: all of them as one, from an architecture to a curve;
* `quality`: how good it is on nets that it has not seen;
* `trainer`: a search's trainer, in the search's own process;
* `choice`, `searching`: `metaqnn search --trainer surrogate`: which runs may, and a whole one;
* `command`: the same behind Caffe's command line.
"""
