#include "duolu/engine/engines.hpp"

#include <cerrno>
#include <utility>
#include <vector>

#include "duolu/engine/readiness.hpp"

namespace duolu {

#define DUOLU_ENGINE(name, summary)                                                            \
  Result<std::unique_ptr<Engine>> make_##name##_engine(Kernel& kernel, EngineOptions options); \
  Probe probe_##name##_engine(Kernel& kernel);
#include "engines.def"
#undef DUOLU_ENGINE

namespace {

struct Table {
  Table() {
    for (const Backend& poller : backends())
      rows.push_back({.name = poller.name, .summary = poller.summary, .poller = &poller});
#define DUOLU_ENGINE(name_, summary_)                     \
  rows.push_back({.name = #name_,                         \
                  .summary = (summary_),                  \
                  .native_probe = probe_##name_##_engine, \
                  .native_make = make_##name_##_engine});
#include "engines.def"
#undef DUOLU_ENGINE
  }
  std::vector<EngineKind> rows;
};

}  // namespace

std::span<const EngineKind> engines() {
  static const detail::Immortal<Table> table;
  return table.value.rows;
}

Result<std::unique_ptr<Engine>> EngineKind::make(Kernel& kernel, EngineOptions options) const {
  if (poller == nullptr) return native_make(kernel, options);
  Result<std::unique_ptr<Poller>> made = poller->make(kernel, {});
  if (!made) return fail(made.error());
  return make_readiness_engine(*std::move(made), options);
}

const EngineKind* find_engine(std::string_view name) {
  for (const EngineKind& kind : engines())
    if (kind.name == name) return &kind;
  return nullptr;
}

EngineChoice choose_engine(Kernel& kernel, std::string_view name) {
  EngineChoice choice;
  if (name != "auto") {
    choice.kind = find_engine(name);
    if (choice.kind != nullptr) {
      choice.why = "asked for by name";
      return choice;
    }
    choice.why.append("there is no engine \"").append(name).append("\"; choose auto");
    for (const EngineKind& each : engines()) choice.why.append(", ").append(each.name);
    return choice;
  }
  for (const EngineKind& kind : engines()) {
    const Probe probe = kind.probe(kernel);
    if (!choice.why.empty()) choice.why += "; ";
    choice.why.append(kind.name).append(probe.works() ? ": " : " does not work: ");
    choice.why += probe.reason;
    if (!probe.works()) continue;
    choice.kind = &kind;
    break;
  }
  return choice;
}

Result<std::unique_ptr<Engine>> make_engine(Kernel& kernel, std::string_view name,
                                            EngineOptions options) {
  const EngineKind* const kind = choose_engine(kernel, name).kind;
  if (kind == nullptr) return fail(name == "auto" ? ENOSYS : EINVAL);
  return kind->make(kernel, options);
}

}  // namespace duolu
