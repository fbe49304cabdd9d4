void f() {
	g();
}
