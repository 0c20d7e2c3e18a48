package stack

func (b *builder) loginNodes() {}
