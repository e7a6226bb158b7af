"""What the authors' own data says: pure functions from their files to numbers.

* `files`: which files, their SHA-256, where they are served, and how they are read;
* `figure_3`: the bars of Figure 3 and its rolling mean;
* `figure_a2`: the distributions of Figure A2, and the nets at chance level;
* `rise`: what the rise of the mean accuracy from ε = 1 to ε = 0.1 is made of;
* `trainings`: learning rates, restarts and the schedule, as the learning curves tell them;
* `nets`: the dropout rule, the space, and the published nets among those sampled;
* `q_values`: which Q-values never changed, and which exceed 1;
* `samples`: how many, against Table 2; where they ran, and what they cost.
"""
