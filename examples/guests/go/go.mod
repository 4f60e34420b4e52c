module trommel.example/go-transform

go 1.26
