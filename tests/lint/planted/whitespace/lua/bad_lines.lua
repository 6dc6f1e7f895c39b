return 1

