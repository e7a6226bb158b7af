"""Early stopping of trainings whose final accuracy is foretold from their first epochs.

The method is the authors' own follow-up (Baker, Gupta, Raskar and Naik, arXiv 1705.10823). Its
details are from chapter 4 of Baker's thesis (MIT, August 2017), which presents it at length:
sections named in these modules are the thesis's. Where it is silent, they say what was chosen.

* `features`: partial curves, architectures and learning rates as numbers;
* `predictor`: the final accuracy and its error, by ν-SVR and by plainer means;
* `stopping`: rules that stop a training, and searches simulated with them;
* `published`: what the thesis's figures say of the same nets;
* `study`: all of it, measured on curves in many orders;
* `page`: the measurements as Markdown.
"""
