module real

go 1.21
