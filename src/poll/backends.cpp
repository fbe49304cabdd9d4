#include "duolu/poll/backends.hpp"

#include <algorithm>
#include <cerrno>

namespace duolu {

#define DUOLU_POLLER(name, summary, ...)                                                       \
  Result<std::unique_ptr<Poller>> make_##name##_poller(Kernel& kernel, PollerOptions options); \
  Probe probe_##name##_poller(Kernel& kernel);
#include "backends.def"
#undef DUOLU_POLLER

namespace {

template <auto make>
Result<std::unique_ptr<Poller>> checked(Kernel& kernel, PollerOptions options) {
  if (options.batch == 0 || options.batch > PollerOptions::max_batch) return fail(EINVAL);
  return make(kernel, options);
}

/// The name that users write.
template <std::size_t size>
struct Dashed {
  explicit constexpr Dashed(const char (&name)[size]) {
    std::replace_copy(name, name + size, text, '_', '-');
  }
  char text[size]{};
};
#define DUOLU_POLLER(name, summary, ...) constexpr Dashed name_of_##name(#name);
#include "backends.def"
#undef DUOLU_POLLER

constexpr Backend table[] = {
#define DUOLU_POLLER(name, summary, ...) \
  {name_of_##name.text,                  \
   summary,                              \
   {__VA_ARGS__},                        \
   probe_##name##_poller,                \
   checked<make_##name##_poller>},
#include "backends.def"
#undef DUOLU_POLLER
};

}  // namespace

std::span<const Backend> backends() noexcept { return table; }

const Backend* find_backend(std::string_view name) noexcept {
  for (const Backend& backend : table)
    if (backend.name == name) return &backend;
  return nullptr;
}

BackendChoice choose_backend(Kernel& kernel) {
  BackendChoice choice;
  for (const Backend& backend : table) {
    const Probe probe = backend.probe(kernel);
    if (!choice.why.empty()) choice.why += "; ";
    choice.why.append(backend.name).append(probe.works() ? ": " : " does not work: ");
    choice.why += probe.reason;
    if (!probe.works()) continue;
    choice.backend = &backend;
    break;
  }
  return choice;
}

Result<std::unique_ptr<Poller>> make_poller(Kernel& kernel, std::string_view backend,
                                            PollerOptions options) {
  const Backend* chosen =
      backend == "auto" ? choose_backend(kernel).backend : find_backend(backend);
  if (chosen == nullptr) return fail(backend == "auto" ? ENOSYS : EINVAL);
  return chosen->make(kernel, options);
}

}  // namespace duolu
