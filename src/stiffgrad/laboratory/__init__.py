"""Problems, comparisons and benchmarks: one file a result, so that every run resumes."""
