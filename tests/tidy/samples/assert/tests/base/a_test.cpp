void g() {
  assert(true);
}
