// Any text: a sentence, or an endpoint that can be handed on.

#include <cstdint>
#include <string_view>

#include "duolu/base/check.hpp"
#include "duolu/net/address.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto endpoint = duolu::parse_endpoint(text);
  if (!endpoint) {
    DUOLU_CHECK(endpoint.error().starts_with(text) && endpoint.error().size() > size);
    return 0;
  }
  using Scheme = duolu::Endpoint::Scheme;
  const bool is_tcp = endpoint->scheme == Scheme::tcp;
  DUOLU_CHECK(is_tcp ? !endpoint->host.empty() : !endpoint->path.empty());
  DUOLU_CHECK(is_tcp ? endpoint->path.empty() : endpoint->host.empty() && endpoint->port == 0);
  const bool abstract = endpoint->path.starts_with('\0');
  DUOLU_CHECK((endpoint->host + endpoint->path).rfind('\0') == (abstract ? 0 : std::string::npos));
  if (!is_tcp)
    DUOLU_CHECK(duolu::resolve(duolu::real_kernel(), *endpoint).has_value() ==
                (endpoint->path.size() < (abstract ? 109 : 108)));
  return 0;
}
