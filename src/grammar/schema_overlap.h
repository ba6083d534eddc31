// Whether two alternatives of "oneOf" may fit the same value.
#pragma once

#include "base/json.h"

namespace cria::grammar {

/// False where no value that is written by one of them fits the other, for certain: they differ in type, in the values
/// or ranges that they allow, or in a property that is always there. Each is an object without $ref and allOf at its
/// top, or true or false; what a part refers to by $ref is not looked at.
[[nodiscard]] bool may_overlap(const OrderedJson& first, const OrderedJson& second);

}  // namespace cria::grammar
