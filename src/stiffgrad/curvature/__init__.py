"""The linear algebra of curvature: Krylov spaces, secants, Kronecker-factored coordinates, shifted solves."""
