"""Places where kernels run. Each starts agents next to kernels and finds them again; none sees a message."""
