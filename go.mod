module kmend

go 1.26.8
