"""The fact files of the small world: complete, unambiguous, and in agreement with tables typed here afresh."""

import json
import re
from pathlib import Path

import pytest

FACTS = Path(__file__).resolve().parents[2] / "utils" / "atlas" / "facts"


def load(name):
    return json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))


STATES = load("states")
COUNTRIES = load("countries")
OPPOSITES = load("opposites")
NAMES = load("names")

REGIONS = {
    "Northeast": "CT ME MA NH RI VT NJ NY PA",
    "Midwest": "IL IN MI OH WI IA KS MN MO NE ND SD",
    "South": "DE FL GA MD NC SC VA WV AL KY MS TN AR LA OK TX",
    "West": "AZ CO ID MT NV NM UT WY AK CA HI OR WA",
}
TIME_ZONES = {
    "Eastern": "CT DE FL GA IN KY MA MD ME MI NC NH NJ NY OH PA RI SC VA VT WV",
    "Central": "AL AR IA IL KS LA MN MO MS ND NE OK SD TN TX WI",
    "Mountain": "AZ CO ID MT NM UT WY",
    "Pacific": "CA NV OR WA",
    "Alaska": "AK",
    "Hawaii": "HI",
}
CONTINENTS = {"Europe", "Asia", "Africa", "North America", "South America", "Oceania"}

POSTAL = """
AK Alaska, AL Alabama, AR Arkansas, AZ Arizona, CA California, CO Colorado, CT Connecticut, DE Delaware,
FL Florida, GA Georgia, HI Hawaii, IA Iowa, ID Idaho, IL Illinois, IN Indiana, KS Kansas, KY Kentucky,
LA Louisiana, MA Massachusetts, MD Maryland, ME Maine, MI Michigan, MN Minnesota, MO Missouri,
MS Mississippi, MT Montana, NC North Carolina, ND North Dakota, NE Nebraska, NH New Hampshire,
NJ New Jersey, NM New Mexico, NV Nevada, NY New York, OH Ohio, OK Oklahoma, OR Oregon, PA Pennsylvania,
RI Rhode Island, SC South Carolina, SD South Dakota, TN Tennessee, TX Texas, UT Utah, VA Virginia,
VT Vermont, WA Washington, WI Wisconsin, WV West Virginia, WY Wyoming
"""
POSTAL = dict(reversed(entry.strip().split(" ", 1)) for entry in POSTAL.split(","))

STATE_CAPITALS = {
    "Maine": "Augusta", "New Hampshire": "Concord", "Vermont": "Montpelier", "Massachusetts": "Boston",
    "Rhode Island": "Providence", "Connecticut": "Hartford", "New York": "Albany", "New Jersey": "Trenton",
    "Pennsylvania": "Harrisburg", "Delaware": "Dover", "Maryland": "Annapolis", "Virginia": "Richmond",
    "West Virginia": "Charleston", "North Carolina": "Raleigh", "South Carolina": "Columbia",
    "Georgia": "Atlanta", "Florida": "Tallahassee", "Alabama": "Montgomery", "Mississippi": "Jackson",
    "Tennessee": "Nashville", "Kentucky": "Frankfort", "Ohio": "Columbus", "Indiana": "Indianapolis",
    "Illinois": "Springfield", "Michigan": "Lansing", "Wisconsin": "Madison", "Minnesota": "Saint Paul",
    "Iowa": "Des Moines", "Missouri": "Jefferson City", "Arkansas": "Little Rock",
    "Louisiana": "Baton Rouge", "Texas": "Austin", "Oklahoma": "Oklahoma City", "Kansas": "Topeka",
    "Nebraska": "Lincoln", "South Dakota": "Pierre", "North Dakota": "Bismarck", "Montana": "Helena",
    "Wyoming": "Cheyenne", "Colorado": "Denver", "New Mexico": "Santa Fe", "Arizona": "Phoenix",
    "Utah": "Salt Lake City", "Idaho": "Boise", "Nevada": "Carson City", "California": "Sacramento",
    "Oregon": "Salem", "Washington": "Olympia", "Alaska": "Juneau", "Hawaii": "Honolulu",
}  # fmt: skip

COUNTRY_FACTS = """
.ar Argentina Buenos_Aires peso, .at Austria Vienna euro, .au Australia Canberra dollar,
.bd Bangladesh Dhaka taka, .br Brazil Brasilia real, .cl Chile Santiago peso, .cn China Beijing yuan,
.cu Cuba Havana peso, .de Germany Berlin euro, .dk Denmark Copenhagen krone, .eg Egypt Cairo pound,
.es Spain Madrid euro, .et Ethiopia Addis_Ababa birr, .fi Finland Helsinki euro, .fr France Paris euro,
.gh Ghana Accra cedi, .gr Greece Athens euro, .hr Croatia Zagreb euro, .hu Hungary Budapest forint,
.iq Iraq Baghdad dinar, .ir Iran Tehran rial, .is Iceland Reykjavik krona, .it Italy Rome euro,
.jp Japan Tokyo yen, .kh Cambodia Phnom_Penh riel, .kr South_Korea Seoul won, .ma Morocco Rabat dirham,
.mx Mexico Mexico_City peso, .ng Nigeria Abuja naira, .no Norway Oslo krone,
.nz New_Zealand Wellington dollar, .pe Peru Lima sol, .pk Pakistan Islamabad rupee,
.pl Poland Warsaw zloty, .pt Portugal Lisbon euro, .ro Romania Bucharest leu, .rs Serbia Belgrade dinar,
.ru Russia Moscow ruble, .sa Saudi_Arabia Riyadh riyal, .se Sweden Stockholm krona,
.th Thailand Bangkok baht, .tn Tunisia Tunis dinar, .ua Ukraine Kyiv hryvnia, .vn Vietnam Hanoi dong
"""
COUNTRY_FACTS = [entry.split() for entry in COUNTRY_FACTS.split(",")]
COUNTRY_FACTS = {c.replace("_", " "): (d, cap.replace("_", " "), cur) for d, c, cap, cur in COUNTRY_FACTS}

# Countries and capitals that are not in the world of the files but that no city may be called after.
OTHER_COUNTRIES = """
Afghanistan, Albania, Algeria, Andorra, Angola, Armenia, Azerbaijan, Bahamas, Bahrain, Barbados, Belarus,
Belgium, Belize, Benin, Bhutan, Bolivia, Bosnia, Botswana, Brunei, Bulgaria, Burundi, Cameroon, Canada,
Chad, Colombia, Comoros, Congo, Costa Rica, Cyprus, Czechia, Djibouti, Dominica, Ecuador, El Salvador,
Eritrea, Estonia, Eswatini, Fiji, Gabon, Gambia, Grenada, Guatemala, Guinea, Guyana, Haiti, Honduras,
India, Indonesia, Ireland, Israel, Ivory Coast, Jamaica, Jordan, Kazakhstan, Kenya, Kiribati, Kosovo,
Kuwait, Kyrgyzstan, Laos, Latvia, Lebanon, Lesotho, Liberia, Libya, Liechtenstein, Lithuania, Luxembourg,
Madagascar, Malawi, Malaysia, Maldives, Mali, Malta, Mauritania, Mauritius, Micronesia, Moldova, Monaco,
Mongolia, Montenegro, Mozambique, Myanmar, Namibia, Nauru, Nepal, Netherlands, Nicaragua, Niger,
North Korea, North Macedonia, Oman, Palau, Panama, Paraguay, Philippines, Qatar, Rwanda, Samoa,
San Marino, Senegal, Seychelles, Sierra Leone, Singapore, Slovakia, Slovenia, Somalia, South Africa,
South Sudan, Sri Lanka, Sudan, Suriname, Switzerland, Syria, Taiwan, Tajikistan, Tanzania, Togo, Tonga,
Trinidad, Tobago, Turkey, Turkmenistan, Tuvalu, Uganda, United Arab Emirates, United Kingdom,
United States, Uruguay, Uzbekistan, Vanuatu, Vatican City, Venezuela, Yemen, Zambia, Zimbabwe
"""
OTHER_CAPITALS = """
Kabul, Tirana, Algiers, Andorra la Vella, Luanda, Yerevan, Baku, Nassau, Manama, Bridgetown, Minsk,
Brussels, Belmopan, Porto-Novo, Cotonou, Thimphu, La Paz, Sucre, Sarajevo, Gaborone,
Bandar Seri Begawan, Sofia, Ouagadougou, Gitega, Bujumbura, Praia, Yaounde, Ottawa, Bangui, N'Djamena,
Bogota, Moroni, Kinshasa, Brazzaville, San Jose, Nicosia, Prague, Djibouti, Roseau, Santo Domingo, Quito,
San Salvador, Malabo, Asmara, Tallinn, Mbabane, Lobamba, Suva, Libreville, Banjul, Tbilisi, St. George's,
Guatemala City, Conakry, Bissau, Georgetown, Port-au-Prince, Tegucigalpa, New Delhi, Delhi, Jakarta,
Dublin, Jerusalem, Tel Aviv, Yamoussoukro, Abidjan, Kingston, Amman, Astana, Nairobi, Tarawa, Pristina,
Kuwait City, Bishkek, Vientiane, Riga, Beirut, Maseru, Monrovia, Tripoli, Vaduz, Vilnius, Luxembourg,
Antananarivo, Lilongwe, Kuala Lumpur, Putrajaya, Male, Bamako, Valletta, Majuro, Nouakchott, Port Louis,
Palikir, Chisinau, Monaco, Ulaanbaatar, Podgorica, Maputo, Naypyidaw, Windhoek, Yaren, Kathmandu,
Amsterdam, The Hague, Managua, Niamey, Pyongyang, Skopje, Muscat, Ngerulmud, Panama City, Port Moresby,
Asuncion, Manila, Doha, Kigali, Basseterre, Castries, Kingstown, Apia, San Marino, Sao Tome, Dakar,
Victoria, Freetown, Singapore, Bratislava, Ljubljana, Honiara, Mogadishu, Pretoria, Cape Town,
Bloemfontein, Juba, Colombo, Khartoum, Paramaribo, Bern, Damascus, Taipei, Dushanbe, Dodoma, Dili, Lome,
Nuku'alofa, Port of Spain, Ankara, Ashgabat, Funafuti, Kampala, Abu Dhabi, London, Edinburgh, Cardiff,
Belfast, Washington, Montevideo, Tashkent, Port Vila, Caracas, Sanaa, Lusaka, Harare, Hamilton,
San Juan, Douglas, Gibraltar, Stanley, Nuuk, Willemstad, Oranjestad
"""


def words(text):
    return {entry.strip() for entry in text.split(",")}


PLACES = STATES + COUNTRIES
CITIES = [city for place in PLACES for city in place["cities"]]
CAPITALS = [place["capital"] for place in PLACES]
PLACE_NAMES = [place["name"] for place in PLACES]


def prefix_clashes(names):
    """Pairs where one name is another followed by more words."""
    names = set(names)
    return [
        (" ".join(parts[:n]), name)
        for name in names
        for parts in [name.split()]
        for n in range(1, len(parts))
        if " ".join(parts[:n]) in names
    ]


@pytest.mark.parametrize("name, rows", [("states", 50), ("countries", 44), ("opposites", 60)])
def test_one_row_per_line(name, rows):
    lines = (FACTS / f"{name}.json").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "[" and lines[-1] == "]" and len(lines) == rows + 2
    assert [json.loads(line.rstrip(",")) for line in lines[1:-1]] == load(name)


def test_fields():
    state_fields = ["name", "capital", "abbreviation", "nickname", "region", "time zone", "flower", "cities"]
    country_fields = ["name", "capital", "language", "currency", "continent", "domain", "people", "cities"]
    for rows, fields, cities in [(STATES, state_fields, 10), (COUNTRIES, country_fields, 6)]:
        for row in rows:
            assert list(row) == fields
            assert len(row["cities"]) == cities, row["name"]
            for value in [row[field] for field in fields[:-1]] + row["cities"]:
                assert isinstance(value, str) and value and value == value.strip()
                assert re.fullmatch(r"[A-Za-z .'\-]+", value) and "  " not in value, value


def test_states_against_independent_tables():
    assert len(STATES) == len(STATE_CAPITALS) == len(POSTAL) == 50
    assert {s["name"]: s["capital"] for s in STATES} == STATE_CAPITALS
    assert {s["name"]: s["abbreviation"] for s in STATES} == POSTAL
    for field, table in [("region", REGIONS), ("time zone", TIME_ZONES)]:
        table = {code: value for value, codes in table.items() for code in codes.split()}
        assert {s["abbreviation"]: s[field] for s in STATES} == table
    nicknames = [s["nickname"] for s in STATES]
    assert len(set(nicknames)) == 50 and not any(n.lower().startswith("the ") for n in nicknames)
    assert all(s["flower"] == s["flower"].lower() for s in STATES)


def test_countries_against_independent_table():
    assert len(COUNTRIES) == len(COUNTRY_FACTS) == 44
    assert {c["name"]: (c["domain"], c["capital"], c["currency"]) for c in COUNTRIES} == COUNTRY_FACTS
    assert {c["continent"] for c in COUNTRIES} == CONTINENTS
    assert all(re.fullmatch(r"\.[a-z]{2}", c["domain"]) for c in COUNTRIES)
    assert all(re.fullmatch(r"[A-Z][a-z]+", c["language"]) for c in COUNTRIES)
    assert all(re.fullmatch(r"[a-z]+", c["currency"]) for c in COUNTRIES)
    for field in ["people", "domain"]:
        assert len({c[field] for c in COUNTRIES}) == 44


def test_names_are_unambiguous():
    assert len(set(PLACE_NAMES)) == 94
    assert len(set(CAPITALS)) == 94
    assert len(set(CITIES)) == len(CITIES) == 50 * 10 + 44 * 6
    folded = [re.sub(r"[^a-z]", "", name.lower().replace("saint", "st")) for name in CITIES + CAPITALS + PLACE_NAMES]
    assert len(set(folded)) == len(folded)
    taken = set(CAPITALS) | set(PLACE_NAMES) | words(OTHER_COUNTRIES) | words(OTHER_CAPITALS)
    assert not taken & set(CITIES)
    assert not set(PLACE_NAMES) & words(OTHER_COUNTRIES)
    assert not set(CAPITALS) & words(OTHER_CAPITALS)
    assert prefix_clashes(CITIES + CAPITALS) == []
    assert prefix_clashes(PLACE_NAMES) == []
    # No city is a state or country name with more words after it.
    assert not [c for c in CITIES for p in PLACE_NAMES if c.startswith(p + " ")]
    # Names that many places share.
    assert not {"Springfield", "Kansas City", "Georgetown", "Franklin", "Clinton", "Greenwood"} & set(CITIES)


def test_opposites():
    assert len(OPPOSITES) == 60
    vocabulary = {}
    for row in OPPOSITES:
        assert list(row) == ["en", "fr", "es"]
        for language, pair in row.items():
            assert len(pair) == 2
            assert all(re.fullmatch(r"[a-zàâçéèêëîïôùûüœáíóúñ]+", word) for word in pair), pair
            vocabulary.setdefault(language, []).extend(pair)
    for language, all_words in vocabulary.items():
        assert len(all_words) == len(set(all_words)) == 120, language
    union = set().union(*vocabulary.values())
    assert len(union) == 360  # no spelling is shared by two languages


def test_names():
    assert {key: len(value) for key, value in NAMES.items()} == {"people": 48, "places": 24, "things": 24}
    for value in NAMES.values():
        assert len(set(value)) == len(value)
    assert all(re.fullmatch(r"[A-Z][a-z]+", name) for name in NAMES["people"])
    assert all(re.fullmatch(r"[a-z]+", name) for name in NAMES["places"])
    for thing in NAMES["things"]:
        article, noun = thing.split()
        assert re.fullmatch(r"[a-z]+", noun)
        assert article == ("an" if noun[0] in "aeiou" else "a")
    map_names = {word for name in CITIES + CAPITALS + PLACE_NAMES for word in name.split()}
    assert not set(NAMES["people"]) & map_names
