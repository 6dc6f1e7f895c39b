local nothing = 1
return 2
