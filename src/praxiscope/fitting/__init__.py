"""Classifiers that are fitted in one go: logistic regression, its choice of l2, and grouped folds.

    folds           folds of cross-validation that never divide a group
    rows            rows of features of any length, read a part at a time
    logistic        multinomial and multi-label logistic regression, and the choice of its regularisation

This package knows tensors only.
"""
