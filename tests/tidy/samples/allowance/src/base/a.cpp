// tidy: allow(assert) A test of the macro itself.
void a() { assert(1); }
void b() { assert(1); }  // tidy: allow(assert) Beside it is fine, too.
// tidy: allow(assert)
void c() { assert(1); }
// tidy: allow(banned-call) Nothing of that kind follows.
void d();
