// The reader of JSON: what it accepts is what it says once more when it is written and read again.
#include "base/json.h"

#include "base/json_fields.h"
#include "fuzz_target.h"

namespace cria::fuzz {
namespace {

void read_fields(const Json& object) {
  const JsonFields fields(object, "file");
  for (const auto& [key, value] : object.items()) {
    is_sound(fields.boolean(key));
    is_sound(fields.string(key));
    if (const auto whole = fields.whole(key, 1, 1000); is_sound(whole) && *whole) {
      CRIA_CHECK(**whole >= 1 && **whole <= 1000);
    }
    if (const auto number = fields.number(key, -1, 1); is_sound(number) && *number) {
      CRIA_CHECK(**number >= -1 && **number <= 1);
    }
    if (const auto whole = fields.required_whole(key, 1, 1000); is_sound(whole)) CRIA_CHECK(*whole <= 1000);
    CRIA_CHECK(shown(value).size() < 400);
  }
}

}  // namespace

CRIA_FUZZ_TARGET(json, 4096) {
  const JsonLimits tight = {.max_depth = 8, .max_containers = 40, .allow_duplicate_keys = true};
  is_sound(parse_json(input, "file", tight));
  const auto json = parse_json(input, "file");
  if (!is_sound(json)) return;
  const auto again = parse_json(json->dump(), "file");
  CRIA_CHECK(is_sound(again) && *again == *json);
  if (json->is_object()) read_fields(*json);
}

}  // namespace cria::fuzz
