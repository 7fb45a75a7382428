#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

const Family* family_of(GoldenFile& file) {
  for (const Family* family : {&kDabNet, &kDgmn2, &kDrn, &kDynamicRouting})
    if (family->owns(file)) return family;
  return nullptr;
}

}  // namespace segrt::golden
