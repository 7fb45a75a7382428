// The plan of the ground: lanes, kerbs, pavements, verges, crossings, and what is painted on the road.
#include <algorithm>

#include "data/synthetic_scene.h"

namespace segrt::data::streets {
namespace {

Side plan_side(Dice& dice, double kerb) {
  Side side;
  const double kind = dice.range(0, 1);
  side.district = kind < 0.42   ? District::city
                  : kind < 0.60 ? District::boulevard
                  : kind < 0.85 ? District::residential
                                : District::outskirts;
  const bool verge_inside = dice.chance(0.4);  // grass between the kerb and the pavement, else behind the pavement
  const double pavement = dice.range(1.6, 3.6);
  switch (side.district) {
    case District::city: side.strips = {{dice.range(2.2, 5.0), kSidewalk}}; break;
    case District::boulevard:
      side.strips = {{pavement, kSidewalk}, {dice.range(1.0, 2.5), kTerrain}, {dice.range(2.0, 4.0), kSidewalk}};
      break;
    case District::residential: {
      const double verge = dice.range(1.0, 3.5);
      if (verge_inside)
        side.strips = {{verge, kTerrain}, {pavement, kSidewalk}, {dice.range(1, 4), kTerrain}};
      else
        side.strips = {{pavement, kSidewalk}, {verge, kTerrain}};
      break;
    }
    case District::outskirts:
      if (dice.chance(0.6)) side.strips.push_back({pavement, kSidewalk});
      side.strips.push_back({dice.range(4, 12), kTerrain});
      break;
  }
  side.kerb = kerb;
  side.building_line = kerb;
  for (const Strip& strip : side.strips) side.building_line += strip.width;
  side.parking = side.district != District::outskirts && dice.chance(0.55);
  return side;
}

void plan_lines(Street& street, Dice& dice, int lanes_left, int lanes_right) {
  const double half = dice.range(0.05, 0.09);
  const bool marked = dice.chance(0.8);
  if (!marked) return;
  const double period = dice.range(6, 12);
  street.lines.push_back({0, half, dice.chance(0.5) ? period : 0.0, 0.5});
  for (int k = 1; k < lanes_right; ++k) street.lines.push_back({k * street.lane, half, period, 0.4});
  for (int k = 1; k < lanes_left; ++k) street.lines.push_back({-k * street.lane, half, period, 0.4});
  if (dice.chance(0.5)) {  // edge lines: where the lanes end, inside the parked cars
    street.lines.push_back({lanes_right * street.lane, half, 0, 1});
    street.lines.push_back({-lanes_left * street.lane, half, 0, 1});
  }
}

}  // namespace

void plan_street(Scene& scene, Dice dice, double difficulty) {
  Street& street = scene.street;
  street.lane = dice.range(2.8, 3.5);
  const int lanes_right = dice.chance(0.3) ? 2 : 1, lanes_left = dice.chance(0.3) ? 2 : 1;
  street.curve = dice.chance(0.5) ? dice.range(-0.0012, 0.0012) * (0.5 + difficulty) : 0.0;
  street.tram = dice.chance(0.22);
  for (int s = 0; s < 2; ++s) {
    Side side = plan_side(dice, (s == 0 ? lanes_left : lanes_right) * street.lane);
    const double margin = side.parking ? 2.1 : dice.range(0.2, 0.6);
    side.kerb += margin;
    side.building_line += margin;
    street.sides[static_cast<size_t>(s)] = side;
  }
  const int ego_lane = dice.count(0, lanes_right - 1);
  street.ego = (ego_lane + 0.5) * street.lane + dice.range(-0.4, 0.4);
  if (street.tram) street.tram_lateral = dice.chance(0.6) ? -0.5 * street.lane : 0.5 * street.lane;
  plan_lines(street, dice, lanes_left, lanes_right);

  street.end = dice.chance(0.4) ? dice.range(50, 120) : dice.range(120, 220);
  for (double z = dice.range(12, 60); z < street.end - 15; z += dice.range(45, 120)) {
    if (!dice.chance(0.65)) continue;
    const double width = dice.range(5, 11);
    const bool left = dice.chance(0.75);
    const bool right = dice.chance(0.75) || !left;
    street.crossings.push_back({z, z + width, {left, right}});
    if (dice.chance(0.5)) street.zebras.push_back(z - 4.5);
    if (dice.chance(0.3)) street.zebras.push_back(z + width + 1);
  }
  if (dice.chance(0.15)) street.zebras.push_back(dice.range(5, 30));
}

}  // namespace segrt::data::streets
